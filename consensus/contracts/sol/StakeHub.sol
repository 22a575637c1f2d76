// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.37;

/// @title Who validates, and with how much at stake.
/// @notice Lives at a fixed address from genesis; there is no constructor, genesis writes the storage (the layout is
/// mirrored in Rust and a test compares the two). Every loop runs over `listed`, whose length `listedMax` bounds.
/// @dev Left out: slashing and delegation. A validator key cannot prove possession here; whoever registers a key first
/// owns it for good, so a validator registers before it shows its key to anyone.
contract StakeHub {
    struct Validator {
        bytes32 key;
        uint256 stake;
        uint256 unbonding;
        uint64 releaseBlock;
        uint64 position; // In `listed`, counted from 1; 0 when not listed.
    }

    uint256 public minimumStake;
    uint64 public unbondingBlocks;
    uint64 public listedMax;
    address[] private listed;
    mapping(address account => Validator) public validators;
    mapping(bytes32 key => address account) public ownerOfKey;

    event Registered(address indexed account, bytes32 indexed key, uint256 stake);
    event Increased(address indexed account, uint256 stake);
    event UnbondingStarted(address indexed account, uint256 amount, uint64 releaseBlock);
    event Withdrawn(address indexed account, uint256 amount);
    event Evicted(address indexed account, address indexed by);

    error KeyIsZero();
    error KeyTaken(address owner);
    error AlreadyListed();
    error NotListed();
    error StakeTooSmall(uint256 given, uint256 needed);
    error AmountIsZero();
    error MoreThanStaked(uint256 asked, uint256 staked);
    error LastValidator();
    error StillUnbonding(uint64 releaseBlock);
    error NothingToWithdraw();
    error TransferFailed();

    /// @notice Joins the candidates with the value sent as stake. When the list is full the smallest stake makes room.
    function register(bytes32 key) external payable {
        if (key == bytes32(0)) revert KeyIsZero();
        address owner = ownerOfKey[key];
        if (owner != address(0) && owner != msg.sender) revert KeyTaken(owner);
        Validator storage validator = validators[msg.sender];
        if (validator.position != 0) revert AlreadyListed();
        if (msg.value < minimumStake) revert StakeTooSmall(msg.value, minimumStake);
        if (listed.length >= listedMax) makeRoom(msg.value);

        ownerOfKey[key] = msg.sender;
        listed.push(msg.sender);
        validator.key = key;
        validator.stake = msg.value;
        validator.position = uint64(listed.length);
        emit Registered(msg.sender, key, msg.value);
    }

    /// @notice Adds the value sent to the stake.
    function increase() external payable {
        Validator storage validator = validators[msg.sender];
        if (validator.position == 0) revert NotListed();
        if (msg.value == 0) revert AmountIsZero();
        validator.stake += msg.value;
        emit Increased(msg.sender, validator.stake);
    }

    /// @notice Takes `amount` out of the stake; it can be withdrawn after the unbonding period. What is left is either
    /// at least the minimum or nothing, and then the validator leaves the list. A second call restarts the clock.
    function beginUnbond(uint256 amount) external {
        Validator storage validator = validators[msg.sender];
        if (validator.position == 0) revert NotListed();
        if (amount == 0) revert AmountIsZero();
        if (amount > validator.stake) revert MoreThanStaked(amount, validator.stake);
        uint256 left = validator.stake - amount;
        if (left != 0 && left < minimumStake) revert StakeTooSmall(left, minimumStake);
        if (left == 0 && listed.length == 1) revert LastValidator();
        startUnbonding(msg.sender, validator, amount);
        if (left == 0) unlist(validator);
    }

    /// @notice Pays out what has finished unbonding.
    function withdraw() external {
        Validator storage validator = validators[msg.sender];
        uint256 amount = validator.unbonding;
        if (amount == 0) revert NothingToWithdraw();
        if (block.number < validator.releaseBlock) revert StillUnbonding(validator.releaseBlock);
        validator.unbonding = 0;
        emit Withdrawn(msg.sender, amount);
        (bool paid,) = msg.sender.call{value: amount}("");
        if (!paid) revert TransferFailed();
    }

    /// @notice Every candidate. The node sorts them and keeps the largest at the edge of an epoch.
    function computeSet()
        external
        view
        returns (address[] memory accounts, bytes32[] memory keys, uint256[] memory stakes)
    {
        accounts = listed;
        keys = new bytes32[](accounts.length);
        stakes = new uint256[](accounts.length);
        for (uint256 i = 0; i < accounts.length; i++) {
            Validator storage validator = validators[accounts[i]];
            keys[i] = validator.key;
            stakes[i] = validator.stake;
        }
    }

    function makeRoom(uint256 offered) private {
        address smallest = listed[0];
        uint256 least = validators[smallest].stake;
        for (uint256 i = 1; i < listed.length; i++) {
            uint256 stake = validators[listed[i]].stake;
            if (stake < least) (smallest, least) = (listed[i], stake);
        }
        if (offered <= least) revert StakeTooSmall(offered, least + 1);
        Validator storage evicted = validators[smallest];
        startUnbonding(smallest, evicted, least);
        unlist(evicted);
        emit Evicted(smallest, msg.sender);
    }

    function startUnbonding(address account, Validator storage validator, uint256 amount) private {
        validator.stake -= amount;
        validator.unbonding += amount;
        validator.releaseBlock = uint64(block.number) + unbondingBlocks;
        emit UnbondingStarted(account, amount, validator.releaseBlock);
    }

    function unlist(Validator storage validator) private {
        uint256 hole = validator.position - 1;
        address last = listed[listed.length - 1];
        listed[hole] = last;
        validators[last].position = uint64(hole + 1);
        listed.pop();
        validator.position = 0;
    }
}
